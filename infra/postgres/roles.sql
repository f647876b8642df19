-- Makes the database of one service and its two roles: `<service>_owner` migrates, `<service>` runs.
-- Takes the psql variables service, owner_password and password; databases.sql sets them.

\set owner :service _owner

CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"service" LOGIN PASSWORD :'password';

CREATE DATABASE :"service" OWNER :"owner";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"service";

\connect :"service"

ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"service";

-- What the owner creates later is usable by the service at once; a migration takes away what a table forbids
-- (UPDATE and DELETE on a ledger).
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO :"service";

-- A password that the environment lacks must be an error, never the password of the service before.
\unset owner_password
\unset password
