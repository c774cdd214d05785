-- What each data plane counted of a release; its later word replaces its earlier one.
CREATE TABLE IF NOT EXISTS serin_evidence (
    model_name VARCHAR(256) NOT NULL,
    release VARCHAR(128) NOT NULL,
    replica VARCHAR(64) NOT NULL,
    sequence BIGINT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (model_name, release, replica)
);
