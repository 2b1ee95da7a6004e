"""People and their key points in pictures: what goes into the networks and what comes out."""
