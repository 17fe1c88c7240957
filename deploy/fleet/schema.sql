-- Tables of deploy/fleet/consumer.py. Once for each database:
--
--   psql -d fleet -f deploy/fleet/schema.sql
--
-- The consumer's role needs no more than
--
--   GRANT SELECT, INSERT ON event TO "edge-consumer";
--   GRANT SELECT, INSERT, UPDATE, DELETE ON availability, set_aside, set_aside_removed TO "edge-consumer";

-- Everything that devices have published on edge/DEVICE/event, each once: docs/mqtt.md has the types.
-- at is by the device's clock, which is wrong until it has the network's time; stored is the database's.
CREATE TABLE IF NOT EXISTS event (
    device   text        NOT NULL,
    id       text        NOT NULL,
    type     text        NOT NULL,
    before   text,
    after    text,
    evidence jsonb       NOT NULL,
    seq      bigint      NOT NULL,
    at       timestamptz NOT NULL,
    stored   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, id)
);
CREATE INDEX IF NOT EXISTS event_device_at ON event (device, at);
CREATE INDEX IF NOT EXISTS event_device_stored ON event (device, stored);
CREATE INDEX IF NOT EXISTS event_type_stored ON event (type, stored);

-- What each device, or the broker for it, said last on edge/DEVICE/availability, and since when.
CREATE TABLE IF NOT EXISTS availability (
    device text        PRIMARY KEY,
    online boolean     NOT NULL,
    since  timestamptz NOT NULL DEFAULT now()
);

-- Messages that are no events: equal ones once, counted; the consumer keeps the newest 10,000.
CREATE TABLE IF NOT EXISTS set_aside (
    digest  bytea       PRIMARY KEY,
    topic   text        NOT NULL,
    reason  text        NOT NULL,
    payload bytea       NOT NULL,
    times   bigint      NOT NULL DEFAULT 1,
    last    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS set_aside_last ON set_aside (last);

-- How many messages the rows stood for that made room.
CREATE TABLE IF NOT EXISTS set_aside_removed (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    times  bigint  NOT NULL
);
