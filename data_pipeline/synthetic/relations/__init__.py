"""The relations of the synthetic world, one module per kind of entity: what can be true of it and how people say it."""

from data_pipeline.synthetic.relations.base import Relation
from data_pipeline.synthetic.relations.city import CITY
from data_pipeline.synthetic.relations.country import COUNTRY
from data_pipeline.synthetic.relations.nature import ANIMAL, PLANT
from data_pipeline.synthetic.relations.person import PERSON
from data_pipeline.synthetic.relations.things import FOOD, MATERIAL

RELATIONS: tuple[Relation, ...] = (*COUNTRY, *CITY, *PERSON, *ANIMAL, *PLANT, *FOOD, *MATERIAL)
"""Every relation, in a fixed order."""

__all__ = ["RELATIONS", "Relation"]
