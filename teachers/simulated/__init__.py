"""A teacher to rehearse with: it speaks the OpenAI protocol and says that it is simulated."""
