"""From files to rows: loaders, formats, documents."""
