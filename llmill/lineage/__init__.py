"""Where did this come from: manifests walked backwards, from a score to the WARC record of a document.

``walk`` builds the tree of artifacts; ``documents`` goes on inside the artifacts, to rows and records;
``show`` prints it (``llmill lineage PATH``).
"""

from llmill.lineage.documents import DocumentTrace, sample_documents, trace_document
from llmill.lineage.walk import Node, walk

__all__ = ["DocumentTrace", "Node", "sample_documents", "trace_document", "walk"]
