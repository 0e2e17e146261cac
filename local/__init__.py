"""The whole pipeline on one machine: the Pulumi program on moto, the shipped archives, a real PostgreSQL."""
