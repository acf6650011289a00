"""Each kernel of `make lab` runs this file: an error is scrolled into view.

Run All Cells goes to the last cell and stays there, so an error in an earlier cell is out of sight.
"""

from IPython import get_ipython
from IPython.display import HTML, display

SCROLL = "document.currentScript.closest('.jp-Cell').scrollIntoView({block: 'end'})"


def shown(shell, kind, error, traceback, tb_offset=None):
    """Print the traceback as always; then its last line, which is the sentence, is in view."""
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    display(HTML(f"<script>{SCROLL}</script>"))


get_ipython().set_custom_exc((Exception,), shown)
