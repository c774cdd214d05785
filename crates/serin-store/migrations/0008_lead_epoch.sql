-- Grows each time that the lead changes hands or is claimed: a change by one who has lost it is refused.
ALTER TABLE serin_lead ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
