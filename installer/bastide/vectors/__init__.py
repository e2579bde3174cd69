"""Vector data over Qdrant's API: what a vector DB holds, and moving it to another one."""
