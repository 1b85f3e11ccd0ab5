"""Who may do what: API keys with roles, limits, headers, and a log of who did what.

`api_keys` keeps keys hashed, `gate` is the one place that every request passes, `rate_limits`
counts, `audit_log` writes down, `browser_safety` guards the pages.
"""
