"""What people look at: one file a page, which gathers what it shows and has `templates/` render it.

`places.py` is the table of all pages and is all that the rest of the gateway knows; a page is imported when it is
first asked for, so that they cost nothing until then. `site.py` is what pages read from, `visitors.py` who looks,
`look.py` how an answer is made and `shelf.py` what goes with it; `charts.py`, `timeline.py` and `words.py` decide how
numbers look. No rules live here: what may be changed goes through the same rooms as the command and /admin/.
"""
