mod dev_postgres;
