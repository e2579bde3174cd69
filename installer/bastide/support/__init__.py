"""Support bundles: what helps from a distance, through one redactor, listed before it leaves."""
