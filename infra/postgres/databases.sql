-- Makes each service's database and roles, with the passwords that the environment holds. psql runs it as a superuser:
--   ORDER_PASSWORD=… ORDER_OWNER_PASSWORD=… ORDER_READER_PASSWORD=… PAYMENT_PASSWORD=… … psql --set ON_ERROR_STOP=1 --file databases.sql

\set ON_ERROR_STOP 1

-- By default everybody may connect to every database.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;

\set service order
\getenv owner_password ORDER_OWNER_PASSWORD
\getenv password ORDER_PASSWORD
\getenv reader_password ORDER_READER_PASSWORD
\ir service.psql

\set service payment
\getenv owner_password PAYMENT_OWNER_PASSWORD
\getenv password PAYMENT_PASSWORD
\getenv reader_password PAYMENT_READER_PASSWORD
\ir service.psql

\set service inventory
\getenv owner_password INVENTORY_OWNER_PASSWORD
\getenv password INVENTORY_PASSWORD
\getenv reader_password INVENTORY_READER_PASSWORD
\ir service.psql
