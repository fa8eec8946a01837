-- A file of Loupe as of commit a23d003, before files had versions, with rows that its own code wrote. Never change it.
BEGIN TRANSACTION;
CREATE TABLE paces(owner TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "paces" VALUES('acme','{"version": 1, "mu": 0.25}');
INSERT INTO "paces" VALUES('acme/key/laptop','{"version": 1}');
CREATE TABLE spend(tenant TEXT, hour INTEGER, candidate TEXT, requests INTEGER NOT NULL, cost_nanousd INTEGER NOT NULL, PRIMARY KEY(tenant, hour, candidate)) WITHOUT ROWID;
INSERT INTO "spend" VALUES('acme',472222,'small',2,1234572);
INSERT INTO "spend" VALUES('beta',472224,'large',1,1234567);
COMMIT;
