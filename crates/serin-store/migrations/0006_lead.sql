-- Which data plane moves the release of a model, until when, and where the release stands by its last word.
CREATE TABLE IF NOT EXISTS serin_lead (
    model_name VARCHAR(256) NOT NULL PRIMARY KEY,
    replica VARCHAR(64) NOT NULL,
    until_ms BIGINT NOT NULL,
    state TEXT NOT NULL
);
