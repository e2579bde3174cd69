"""The machine that Bastide itself runs on: durable files, processes."""
