"""The inspector: a local web application that shows a corpus and takes people's decisions."""
