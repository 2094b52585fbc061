"""What things are: the job, the collection, the columns that travel, the errors. No Beam, no model, no network."""
