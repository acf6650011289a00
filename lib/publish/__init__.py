"""What make renders and commits: notebooks, the report's pages, documentation, the reference."""

import sys

# nbformat checks notebooks with jsonschema, which takes 2 s to compile a grammar of international
# web addresses where this package is installed (JupyterLab brings it). No notebook needs the check.
sys.modules.setdefault("rfc3987_syntax", None)
