"""Error codes of this package; listed in docs/reference/errors.md."""

WRONG_ENGINE = "BAS-2141"
BAD_KEY_FILE = "BAS-2142"
OTHER_MOVE = "BAS-2143"
SILENT = "BAS-6170"
REFUSED = "BAS-6171"
OTHER_SHAPE = "BAS-6172"
NOT_EQUAL = "BAS-6173"
