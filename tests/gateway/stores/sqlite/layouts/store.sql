-- A file of Loupe as of commit a23d003, before files had versions, with rows that its own code wrote. Never change it.
BEGIN TRANSACTION;
CREATE TABLE api_keys(id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, terms TEXT NOT NULL, last_used_at REAL);
INSERT INTO "api_keys" VALUES('key_1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','{"id": "key_1", "tenant": "acme", "name": "laptop", "hash": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "created_at": 1700000000.0, "expires_at": null, "revoked_at": null, "budgets": [], "candidates": null, "origin": "made"}',1700000060.0);
INSERT INTO "api_keys" VALUES('key_2','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"id": "key_2", "tenant": "acme", "name": "old", "hash": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "created_at": 1700000000.0, "expires_at": null, "revoked_at": 1700000005.0, "budgets": [], "candidates": null, "origin": "made"}',NULL);
INSERT INTO "api_keys" VALUES('key_3','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','{"id": "key_3", "tenant": "beta", "name": "server", "hash": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", "created_at": 1700000000.0, "expires_at": 1709000000.0, "revoked_at": null, "budgets": [{"limit": 100, "period": "hour", "unit": "usd", "rolling": false, "soft": false, "zone": "UTC"}], "candidates": null, "origin": "yaml"}',NULL);
CREATE TABLE holds(
    id TEXT PRIMARY KEY, windows TEXT NOT NULL, amount INTEGER NOT NULL, charge INTEGER,
    state TEXT NOT NULL, changed_at REAL NOT NULL, expires_at REAL NOT NULL,
    tokens INTEGER NOT NULL DEFAULT 0, requests INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO "holds" VALUES('acme/req_gone.0','acme/total
acme/day/2023-11-14T00:00',200,200,'expired',1700000010.0,1700000001.0,12,1);
INSERT INTO "holds" VALUES('acme/req_held.0','acme/total
acme/day/2023-11-14T00:00
tokens:acme/tokens/day/2023-11-14T00:00',300,NULL,'held',1700000010.0,1700003610.0,25,1);
INSERT INTO "holds" VALUES('acme/req_settled.0','acme/total
acme/day/2023-11-14T00:00
tokens:acme/tokens/day/2023-11-14T00:00
requests:acme/requests/month/2023-11-01T00:00',700,450,'settled',1700000000.0,1700000060.0,40,1);
CREATE TABLE read_sections(name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "read_sections" VALUES('beta','d1');
INSERT INTO "read_sections" VALUES('beta/key/server','d2');
CREATE TABLE tenant_marks(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "tenant_marks" VALUES('notice','reload-1');
INSERT INTO "tenant_marks" VALUES('secret','3ee5bba145465c4d86c946337570b9d548bb101f113649d2cc19803ce39f6871');
INSERT INTO "tenant_marks" VALUES('secret_check','130a5a3b238506de81cf184eb0d3b3132e0f88e927cfbcd98bbbcde95eeb9f58');
INSERT INTO "tenant_marks" VALUES('version','1');
CREATE TABLE tenants(name TEXT PRIMARY KEY, terms TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "tenants" VALUES('acme','{"name": "acme", "budgets": [{"limit": 10000, "period": "total", "unit": "usd", "rolling": false, "soft": false, "zone": "UTC"}, {"limit": 5000, "period": "day", "unit": "usd", "rolling": false, "soft": false, "zone": "UTC"}], "candidates": null, "quality_weight": 0.7, "on_infeasible": "refuse", "created_at": 1700000000.0, "pacing": {"plan": "learned", "burst": 0.05}, "exploration": null}');
INSERT INTO "tenants" VALUES('beta','{"name": "beta", "budgets": [], "candidates": ["small"], "quality_weight": 0.8, "on_infeasible": "refuse", "created_at": 1700000000.0, "pacing": {"plan": "learned", "burst": 0.05}, "exploration": null}');
CREATE TABLE windows(
    key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0, forget_at REAL
) WITHOUT ROWID;
INSERT INTO "windows" VALUES('acme/day/2023-11-14T00:00',650,300,1702771200.0);
INSERT INTO "windows" VALUES('acme/requests/month/2023-11-01T00:00',1,0,1704153600.0);
INSERT INTO "windows" VALUES('acme/tokens/day/2023-11-14T00:00',33,25,1702771200.0);
INSERT INTO "windows" VALUES('acme/total',650,300,NULL);
CREATE INDEX holds_due ON holds(expires_at) WHERE state = 'held';
COMMIT;
