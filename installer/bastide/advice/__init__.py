"""Which model to choose: selection, comparison and recommendation from model cards; pure."""
