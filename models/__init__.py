"""The toolroom: design and effect methods on arrays; nothing here knows of files, flows or patients."""
