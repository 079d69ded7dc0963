"""Reports: tables, pictures and texts as Markdown and HTML, for whatever was measured."""
