"""Language codes: ISO 639-1 where there is one, else ISO 639-3; labels of fastText models mapped to them.

lid.176 says `en`, GlotLID and OpenLID say `eng_Latn`. Members of macrolanguages that lid.176 tells apart (Egyptian
Arabic, Wu) keep their own code; others go to the macrolanguage (`arb` is `ar`, `cmn` is `zh`, `nob` is `no`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

_TWO_LETTERS = """
abk:ab afr:af aka:ak amh:am ara:ar arb:ar arg:an asm:as ava:av aze:az azj:az bak:ba bam:bm bel:be ben:bn bis:bi bod:bo
bos:bs bre:br bul:bg cat:ca ces:cs che:ce chv:cv cmn:zh cor:kw cos:co cym:cy dan:da deu:de div:dv dzo:dz ekk:et ell:el
eng:en epo:eo est:et eus:eu ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr fry:fy ful:ff fuv:ff gaz:om gla:gd gle:ga glg:gl
glv:gv grn:gn gug:gn guj:gu hat:ht hau:ha hbs:sh heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ido:io iku:iu ile:ie ina:ia
ind:id isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks kat:ka kaz:kk khk:mn khm:km kik:ki kin:rw kir:ky kmr:ku kom:kv
kon:kg kor:ko kpv:kv kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lug:lg lvs:lv mal:ml mar:mr mkd:mk mlg:mg
mlt:mt mon:mn mri:mi msa:ms mya:my nav:nv nep:ne nld:nl nno:nn nob:no nor:no npi:ne nya:ny oci:oc ori:or orm:om ory:or
oss:os pan:pa pbt:ps pes:fa plt:mg pol:pl por:pt pus:ps que:qu quy:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si
slk:sk slv:sl sme:se smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv swh:sw
tah:ty tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur
uzb:uz uzn:uz ven:ve vie:vi vol:vo wln:wa wol:wo xho:xh ydd:yi yid:yi yor:yo zho:zh zsm:ms zul:zu
"""
_ISO1 = dict(pair.split(":") for pair in _TWO_LETTERS.split()) | {"nb": "no"}

_LID_176 = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq dsb
dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is it ja
jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn
nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh si sk sl so sq
sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
"""
LID_176 = frozenset(_LID_176.split())
"""What lid.176 tells apart."""

_NAMES = """
arabic:ar bengali:bn chinese:zh czech:cs danish:da dutch:nl english:en finnish:fi french:fr german:de greek:el hebrew:he
hindi:hi hungarian:hu indonesian:id italian:it japanese:ja korean:ko norwegian:no persian:fa polish:pl portuguese:pt
romanian:ro russian:ru spanish:es swedish:sv thai:th turkish:tr ukrainian:uk urdu:ur vietnamese:vi
"""
NAMES = dict(pair.split(":") for pair in _NAMES.split())

UNDETERMINED = "und"
"""The code of text whose language cannot be told (ISO 639-2)."""


@cache
def code_of(label: str) -> tuple[str, str | None]:
    """(language, script or None) of a model's label: `__label__eng_Latn` gives `en` and `Latn`."""
    language, _, script = label.removeprefix("__label__").partition("_")
    if script:
        # with a script it is ISO 639-3, where als is Tosk Albanian; in lid.176 it is Alemannic
        language = "sq" if language == "als" else language
    return canonical(language), script or None


def canonical(code: str) -> str:
    """The ISO 639-1 code of a language given by either; codes that are not in the table stay as they are."""
    return _ISO1.get(code, code)


def check_codes(codes: Iterable[str], known: Iterable[str], where: str) -> list[str]:
    """`codes` in canonical form. Raises ValueError with the nearest code for one that is not among `known`."""
    allowed = set(known)
    result = []
    for code in codes:
        found = canonical(code.lower())
        if found not in allowed:
            raise ValueError(f"{where}: unknown language {code!r}{_nearest(code.lower(), allowed)}")
        result.append(found)
    return result


def _nearest(code: str, known: set[str]) -> str:
    names = [name for name in NAMES if NAMES[name] in known]
    name = difflib.get_close_matches(code, names, n=1, cutoff=0.75)
    if name:
        return f"; did you mean {NAMES[name[0]]!r} ({name[0]})?"
    # a code with a region, or one that is cut off or misspelt
    close = [c for c in (code[:2], code[:3]) if c in known] or difflib.get_close_matches(code, sorted(known), 1, 0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint or ';'} ISO 639-1 codes are expected, or ISO 639-3 where there is none"
