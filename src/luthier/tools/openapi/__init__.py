"""Services that publish an OpenAPI specification: each operation becomes a tool."""
