"""What an API server would say of manifests, said offline, and what it cannot say.

    problems    one thing that is wrong, and the documents of a file
    source      YAML as Kubernetes reads it, with line numbers
    typed       pydantic's errors -> problems in the manifest's spelling
    rules       the CEL rules' Python twins, duplicates, and rules on changes
    semantics   what no schema or rule can say: placeholders, the number of items
    metadata    names and labels
    documents   all of it, for a text or files

`easel validate`, `easel run` and the operator call it. Prompts, matrix values and credentials never appear in a problem.
"""

from .documents import load_documents, validate_text
from .problems import Documents, Problem
from .rules import transition_problems
from .semantics import model_problems, spec_problems

__all__ = [
    "Documents",
    "Problem",
    "load_documents",
    "model_problems",
    "spec_problems",
    "transition_problems",
    "validate_text",
]
