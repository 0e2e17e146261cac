"""The data path from the open-data portal to PostgreSQL: no module here knows how it is deployed."""
