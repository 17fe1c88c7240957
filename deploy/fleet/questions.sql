-- What one asks of a fleet, as views and functions on the tables of schema.sql; docs/consumers.md
-- explains each.
--
--   psql -d fleet -f deploy/fleet/questions.sql
--   psql -d fleet -c "SELECT * FROM quiet('6 hours')"
--
-- They read, and change nothing. "until" is now unless given; hours and shares of labels go by the
-- devices' clocks (event.at), silence by the database's (event.stored).

-- A figure in an event's evidence; NULL where a device has sent something else.
CREATE OR REPLACE FUNCTION figure(value jsonb) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number' THEN
        CASE WHEN abs(value::text::numeric) < 1e15 THEN value::text::float8 END
    END
$$;

-- Which devices are alike enough to compare: the same name but for a number at its end, as gate-1 and
-- gate-2. Replace it where your names say it otherwise.
CREATE OR REPLACE FUNCTION neighbourhood(device text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(device, '[-_.]?[0-9]+$', '')
$$;

-- A row for each device: what it is now, as far as events and availability say.
CREATE OR REPLACE VIEW device AS
SELECT device, online, since AS online_since, last.stored AS last_event, label.after AS label,
    label.at AS label_since, coalesce(drift.type = 'drift_began', false) AS drifting,
    coalesce(camera.type <> 'camera_recovered', false) AS camera_away
FROM (SELECT device FROM event UNION SELECT device FROM availability) AS every
LEFT JOIN availability USING (device)
LEFT JOIN LATERAL (
    SELECT stored FROM event WHERE device = every.device ORDER BY stored DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT after, at FROM event WHERE device = every.device AND type = 'label_changed'
    ORDER BY at DESC LIMIT 1
) AS label ON true
LEFT JOIN LATERAL (
    SELECT type FROM event
    WHERE device = every.device AND type IN ('drift_began', 'drift_ended') ORDER BY at DESC LIMIT 1
) AS drift ON true
LEFT JOIN LATERAL (
    SELECT type FROM event
    WHERE device = every.device
        AND type IN ('camera_lost', 'camera_stalled', 'camera_failed', 'camera_recovered')
    ORDER BY at DESC LIMIT 1
) AS camera ON true;

-- Which devices are quiet: offline for so long, or without an event for so long and not known to be
-- online. One that is online and sees nothing happen is not quiet.
CREATE OR REPLACE FUNCTION quiet(silence interval DEFAULT '24 hours', until timestamptz DEFAULT now())
RETURNS TABLE (device text, online boolean, last_sign timestamptz, silent interval)
LANGUAGE sql STABLE AS $$
    SELECT device, online, last_sign, until - last_sign FROM (
        SELECT device, online, greatest(last_event, online_since) AS last_sign FROM device
    ) AS sign
    WHERE online IS NOT true AND last_sign <= until - silence
    ORDER BY last_sign
$$;

-- Which devices drift now, for how long, and why.
CREATE OR REPLACE FUNCTION drifting(until timestamptz DEFAULT now())
RETURNS TABLE (device text, since timestamptz, reason text, psi float8)
LANGUAGE sql STABLE AS $$
    SELECT device, at, evidence ->> 'reason', figure(evidence -> 'psi') FROM (
        SELECT DISTINCT ON (device) * FROM event
        WHERE type IN ('drift_began', 'drift_ended') AND at <= until
        ORDER BY device, at DESC
    ) AS newest
    WHERE type = 'drift_began'
    ORDER BY at
$$;

-- Which devices change their label more often than so many times an hour, on average.
CREATE OR REPLACE FUNCTION flipping(
    per_hour float8 DEFAULT 20, span interval DEFAULT '24 hours', until timestamptz DEFAULT now())
RETURNS TABLE (device text, changes bigint, changes_per_hour float8)
LANGUAGE sql STABLE AS $$
    SELECT device, count(*), count(*) / (extract(epoch FROM span)::float8 / 3600) FROM event
    WHERE type = 'label_changed' AND at > until - span AND at <= until
    GROUP BY device
    HAVING count(*) > per_hour * extract(epoch FROM span)::float8 / 3600
    ORDER BY count(*) DESC
$$;

-- On which devices the newest finished trial of a candidate agreed with the model at work on less than
-- this share of the frames.
CREATE OR REPLACE FUNCTION disagree_with_shadow(below float8 DEFAULT 0.9)
RETURNS TABLE (device text, model text, agreement float8, frames bigint, ended timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT device, evidence ->> 'model', figure(evidence -> 'agreement'),
        figure(evidence -> 'frames')::bigint, at
    FROM (
        SELECT DISTINCT ON (device) * FROM event
        WHERE type = 'shadow_ended' AND evidence ? 'agreement'
        ORDER BY device, at DESC
    ) AS newest
    WHERE figure(evidence -> 'agreement') < below
    ORDER BY 3
$$;

-- When each device had which label, from the changes of the span and of the seven days before it; NULL is
-- uncertain. A device that was off kept its label, as far as events say.
CREATE OR REPLACE FUNCTION label_span(span interval, until timestamptz)
RETURNS TABLE (device text, label text, began timestamptz, ended timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT device, label, greatest(began, until - span), least(ended, until) FROM (
        SELECT device, after AS label, at AS began,
            lead(at, 1, until) OVER (PARTITION BY device ORDER BY at, seq) AS ended
        FROM event
        WHERE type = 'label_changed' AND at > until - span - interval '7 days' AND at <= until
    ) AS change
    WHERE ended > until - span AND ended > began
$$;

-- Which share of each hour a device had each label.
CREATE OR REPLACE FUNCTION label_share_by_hour(
    span interval DEFAULT '24 hours', until timestamptz DEFAULT now())
RETURNS TABLE (hour timestamptz, device text, label text, share float8)
LANGUAGE sql STABLE AS $$
    SELECT hour, device, label,
        sum(extract(epoch FROM least(ended, hour + interval '1 hour') - greatest(began, hour)))::float8
            / 3600
    FROM label_span(span, until)
    CROSS JOIN LATERAL generate_series(date_trunc('hour', began), ended, interval '1 hour') AS hour
    WHERE ended > hour
    GROUP BY hour, device, label
    ORDER BY hour, device, label
$$;

-- Which devices have a label for another share of the time than the median of their neighbourhood, by
-- more than this. Of two nobody knows which one is wrong: neighbourhoods have three devices at least.
CREATE OR REPLACE FUNCTION disagree_with_neighbours(
    by float8 DEFAULT 0.3, span interval DEFAULT '24 hours', until timestamptz DEFAULT now())
RETURNS TABLE (device text, label text, share float8, median float8)
LANGUAGE sql STABLE AS $$
    WITH part AS (
        SELECT device, label,
            sum(extract(epoch FROM ended - began))::float8 / extract(epoch FROM span)::float8 AS share
        FROM label_span(span, until) GROUP BY device, label
    ), known AS (
        SELECT DISTINCT device, neighbourhood(device) AS place FROM part
    ), every AS (
        SELECT known.device, place, seen.label, coalesce(part.share, 0) AS share
        FROM known
        JOIN (SELECT DISTINCT neighbourhood(device) AS place, label FROM part) AS seen USING (place)
        LEFT JOIN part ON part.device = known.device AND part.label IS NOT DISTINCT FROM seen.label
    ), usual AS (
        SELECT place, label, percentile_cont(0.5) WITHIN GROUP (ORDER BY share) AS median
        FROM every GROUP BY place, label HAVING count(*) >= 3
    )
    SELECT device, every.label, share, median
    FROM every JOIN usual
        ON usual.place = every.place AND usual.label IS NOT DISTINCT FROM every.label
    WHERE abs(share - median) > by
    ORDER BY abs(share - median) DESC, device, every.label
$$;
