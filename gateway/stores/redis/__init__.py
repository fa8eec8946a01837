"""State in Redis, shared by several gateways: budgets by one Lua script, and tenants."""
