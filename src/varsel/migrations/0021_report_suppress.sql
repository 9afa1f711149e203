-- What a report means for the next message to its address (channels 4.3, 6.5), beside what it says of its own.

ALTER TABLE delivery_report ADD COLUMN suppress text;
