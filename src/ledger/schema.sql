-- The ledger, version 1. One text for SQLite and PostgreSQL: BIGINT, TEXT and BLOB only; see migrations.rs
-- for the few words that are translated. Times are milliseconds since 1970 (UTC), days are days since 1970
-- in the workspace's zone, money is minor units.

CREATE TABLE workspaces (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL,
  timezone    TEXT NOT NULL,          -- IANA name; fixed once there are clicks
  currency    TEXT NOT NULL,          -- reporting currency, ISO 4217; fixed once there are conversions
  settings    TEXT NOT NULL,          -- JSON of attribution settings that differ from the configuration
  created_ms  BIGINT NOT NULL
);

CREATE TABLE api_keys (
  id          TEXT PRIMARY KEY,
  workspace   TEXT,                   -- NULL: a platform key, acts for any workspace
  name        TEXT NOT NULL,
  hash        TEXT NOT NULL UNIQUE,   -- SHA-256 of the key, hex
  scopes      TEXT NOT NULL,          -- space-separated: links conversions reports admin publishable
  created_ms  BIGINT NOT NULL,
  revoked_ms  BIGINT
);

CREATE TABLE domains (
  domain      TEXT PRIMARY KEY,       -- authority as in the short URL, lower case
  workspace   TEXT,                   -- NULL: shared by all
  created_ms  BIGINT NOT NULL
);

CREATE TABLE links (
  id            BIGINT PRIMARY KEY,
  workspace     TEXT NOT NULL,
  domain        TEXT NOT NULL,
  slug          TEXT NOT NULL,
  url           TEXT NOT NULL,        -- as given
  utm           TEXT NOT NULL,        -- JSON object: the link's own tags, after defaults
  post          TEXT,
  network       TEXT,
  campaign      TEXT,
  tags          TEXT NOT NULL,        -- JSON array
  title         TEXT,
  external_id   TEXT,
  expires_ms    BIGINT,
  expired_url   TEXT,
  max_clicks    BIGINT,               -- of humans
  full_ms       BIGINT,               -- when they were reached
  forward_query BIGINT NOT NULL,      -- 0 or 1
  click_param   TEXT,                 -- NULL: the configured name; empty: no token
  extra         TEXT NOT NULL,        -- JSON object: what a dialect keeps with a link
  archived_ms   BIGINT,
  created_ms    BIGINT NOT NULL,
  updated_ms    BIGINT NOT NULL,
  version       BIGINT NOT NULL,      -- link_changes.seq of the last change: hot copies never go back
  UNIQUE (domain, slug)
);
CREATE UNIQUE INDEX links_external_id ON links (workspace, external_id);
CREATE INDEX links_by_workspace ON links (workspace, id);
CREATE INDEX links_by_post ON links (workspace, post);
CREATE INDEX links_by_update ON links (workspace, updated_ms);

-- What a link stood for from a time on, so that a changed link does not rewrite history.
CREATE TABLE link_revisions (
  link         BIGINT NOT NULL,
  revision     BIGINT NOT NULL,       -- 1, 2, ...
  from_ms      BIGINT NOT NULL,
  workspace    TEXT NOT NULL,
  post         TEXT,
  network      TEXT,
  campaign     TEXT,
  utm_source   TEXT,                  -- lower-cased, for grouping
  utm_medium   TEXT,
  utm_campaign TEXT,
  utm_term     TEXT,
  utm_content  TEXT,
  tags         TEXT NOT NULL,         -- JSON array
  PRIMARY KEY (link, revision)
);
CREATE INDEX link_revisions_by_post ON link_revisions (workspace, post);
CREATE INDEX link_revisions_in_order ON link_revisions (workspace, link, revision);

-- Changes of links in order: redirectors drop stale entries by it, and the Redis copies are fed from it.
CREATE TABLE link_changes (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  hot_key    TEXT NOT NULL,           -- domain/slug
  link       BIGINT NOT NULL,
  at_ms      BIGINT NOT NULL
);

CREATE TABLE posts (
  workspace    TEXT NOT NULL,
  id           TEXT NOT NULL,
  network      TEXT,
  title        TEXT,
  url          TEXT,
  published_ms BIGINT,
  campaign     TEXT,
  tags         TEXT NOT NULL,         -- JSON array
  kind         TEXT,
  destination  TEXT,
  created_ms   BIGINT NOT NULL,
  updated_ms   BIGINT NOT NULL,
  PRIMARY KEY (workspace, id)
);

CREATE TABLE post_metrics (
  workspace  TEXT NOT NULL,
  post       TEXT NOT NULL,
  day        BIGINT NOT NULL,
  reach      BIGINT,
  likes      BIGINT,
  shares     BIGINT,
  comments   BIGINT,
  PRIMARY KEY (workspace, post, day)
);

CREATE TABLE coupons (
  workspace  TEXT NOT NULL,
  code       TEXT NOT NULL,           -- upper case
  post       TEXT,
  link       BIGINT,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (workspace, code)
);

CREATE TABLE sources (
  id         TEXT PRIMARY KEY,
  workspace  TEXT NOT NULL,
  platform   TEXT NOT NULL,
  name       TEXT NOT NULL,
  role       TEXT NOT NULL,           -- of_record | evidence
  settings   TEXT NOT NULL,           -- JSON object, by platform
  created_ms BIGINT NOT NULL,
  deleted_ms BIGINT
);
CREATE TABLE source_secrets (
  id         TEXT PRIMARY KEY,
  source     TEXT NOT NULL,
  secret     TEXT NOT NULL,
  created_ms BIGINT NOT NULL
);
CREATE INDEX source_secrets_by_source ON source_secrets (source);

-- Raw webhooks, kept for privacy.raw_days.
CREATE TABLE deliveries (
  id          TEXT PRIMARY KEY,       -- UUIDv7
  workspace   TEXT NOT NULL,
  source      TEXT NOT NULL,
  received_ms BIGINT NOT NULL,
  topic       TEXT,
  headers     TEXT NOT NULL,          -- JSON array of [name, value]
  body        BLOB,                   -- NULL once erased
  result      TEXT NOT NULL,          -- accepted | ignored | duplicate | unverified | dead
  problem     TEXT,                   -- why, for ignored, unverified and dead
  order_id    TEXT
);
CREATE INDEX deliveries_by_source ON deliveries (source, id);
CREATE INDEX deliveries_by_result ON deliveries (workspace, result, id);

-- What deliveries said, in utmost's words (intake::fact), customers hashed. An order is a fold over these.
CREATE TABLE facts (
  source      TEXT NOT NULL,
  order_id    TEXT NOT NULL,
  hash        TEXT NOT NULL,          -- of the fact: the same statement twice is one
  workspace   TEXT NOT NULL,
  version_ms  BIGINT NOT NULL,
  says        TEXT NOT NULL,          -- JSON
  delivery    TEXT NOT NULL,
  received_ms BIGINT NOT NULL,
  PRIMARY KEY (source, order_id, hash)
);

-- Other names of an order: lead refunds to it within a source, join evidence across sources.
CREATE TABLE order_references (
  workspace  TEXT NOT NULL,
  reference  TEXT NOT NULL,
  source     TEXT NOT NULL,
  order_id   TEXT NOT NULL,
  PRIMARY KEY (workspace, reference, source, order_id)
);
CREATE INDEX order_references_by_order ON order_references (source, order_id);

CREATE TABLE order_customers (
  workspace  TEXT NOT NULL,
  customer   TEXT NOT NULL,           -- keyed hash of an e-mail or of a source's customer id, hex
  source     TEXT NOT NULL,
  order_id   TEXT NOT NULL,
  PRIMARY KEY (workspace, customer, source, order_id)
);
CREATE INDEX order_customers_by_order ON order_customers (source, order_id);

-- Coupon codes that an order used: whoever binds one anew marks these due.
CREATE TABLE order_coupons (
  workspace  TEXT NOT NULL,
  code       TEXT NOT NULL,           -- upper case
  source     TEXT NOT NULL,
  order_id   TEXT NOT NULL,
  PRIMARY KEY (workspace, code, source, order_id)
);

-- Verified click tokens that an order names.
CREATE TABLE order_tokens (
  source     TEXT NOT NULL,
  order_id   TEXT NOT NULL,
  click      TEXT NOT NULL,           -- click id
  workspace  TEXT NOT NULL,
  link       BIGINT NOT NULL,
  visitor    TEXT,
  at_ms      BIGINT NOT NULL,         -- the click's time, from its id
  ordered_ms BIGINT NOT NULL,         -- the order's time: the first customer to claim a visitor keeps it
  PRIMARY KEY (source, order_id, click)
);
CREATE INDEX order_tokens_by_visitor ON order_tokens (workspace, visitor);

CREATE TABLE conversions (
  id             BIGINT PRIMARY KEY,
  workspace      TEXT NOT NULL,
  source         TEXT NOT NULL,
  order_id       TEXT NOT NULL,
  due            BIGINT NOT NULL,     -- above 0: to be evaluated (anew); each reason adds 1; negated once done
  evaluated_ms   BIGINT,              -- NULL: never yet
  received_ms    BIGINT NOT NULL,
  event          TEXT,                -- purchase, lead, ...
  status         TEXT,                -- attributed | unattributed | excluded
  reason         TEXT,                -- for unattributed and excluded
  match_method   TEXT,                -- click_token | customer | coupon | utm
  runners_up     TEXT,                -- JSON array of the other methods that would have matched
  occurred_ms    BIGINT,              -- the order's own time
  t_ms           BIGINT,              -- the later of that and of the clicks that the order names
  order_day      BIGINT,
  currency       TEXT,                -- original
  total_minor    BIGINT,              -- original, tax and shipping included
  tax_minor      BIGINT,
  shipping_minor BIGINT,
  refunded_minor BIGINT,              -- original
  cost_of_goods_minor BIGINT,
  gross_minor    BIGINT,              -- reporting currency, on the revenue basis
  refunds_minor  BIGINT,
  net_minor      BIGINT,
  basis          TEXT,                -- total | ex_tax | ex_tax_shipping as really used for this order
  rate           TEXT,                -- decimal, original to reporting currency
  rate_day       BIGINT,
  assigned_value_minor BIGINT,        -- value of a lead or other action, reporting currency
  customer       TEXT,                -- the smallest of its customer hashes
  renews         TEXT,
  packed         BLOB,                -- all that reports read of it (packs::Conversion); NULL: it is in no report
  UNIQUE (source, order_id)
);
CREATE INDEX conversions_due ON conversions (id) WHERE due > 0;
CREATE INDEX conversions_by_day ON conversions (workspace, order_day);
CREATE INDEX conversions_by_status ON conversions (workspace, status, reason, id);
CREATE INDEX conversions_by_time ON conversions (workspace, t_ms);
CREATE INDEX conversions_by_customer ON conversions (workspace, customer);
CREATE INDEX conversions_pending ON conversions (workspace, evaluated_ms) WHERE due > 0;

-- Status NULL: not (yet) an order: a refund whose order is unknown, another name of an order, or evidence.

-- Whose journeys a conversion reads: a click that comes later marks it due by this.
CREATE TABLE conversion_visitors (
  workspace  TEXT NOT NULL,
  visitor    TEXT NOT NULL,
  conversion BIGINT NOT NULL,
  PRIMARY KEY (workspace, visitor, conversion)
);
CREATE INDEX conversion_visitors_by_conversion ON conversion_visitors (conversion);

CREATE TABLE touches (
  conversion BIGINT NOT NULL,
  n          BIGINT NOT NULL,         -- 0, 1, ... in order of (at_ms, click)
  at_ms      BIGINT NOT NULL,
  via        TEXT NOT NULL,           -- journey | click_token | customer | coupon | utm | landing
  link       BIGINT,                  -- NULL: a rival touch
  revision   BIGINT,
  click      TEXT,
  visitor    TEXT,
  channel    TEXT,                    -- of a rival touch
  country    TEXT,
  device     TEXT,
  counted    BIGINT NOT NULL,         -- 0: known, but not in the window or a duplicate; has no credits
  PRIMARY KEY (conversion, n)
);

-- What an order's money did: change 0 is the sale, the others are refunds.
CREATE TABLE changes (
  conversion   BIGINT NOT NULL,
  change_no    BIGINT NOT NULL,
  kind         TEXT NOT NULL,         -- revenue | refund | cancelled | fx (an exchange difference, clock=cash only)
  refund_id    TEXT,
  amount_minor BIGINT NOT NULL,       -- signed, reporting currency, on the revenue basis
  at_ms        BIGINT NOT NULL,
  day          BIGINT NOT NULL,
  PRIMARY KEY (conversion, change_no)
);
CREATE INDEX changes_by_day ON changes (day, conversion);

-- Credits: per change and touch the signed share of every model; over the touches they sum to the change.
CREATE TABLE credits (
  conversion  BIGINT NOT NULL,
  change_no   BIGINT NOT NULL,
  n           BIGINT NOT NULL,
  workspace   TEXT NOT NULL,
  link        BIGINT,                 -- NULL: a rival touch
  revision    BIGINT,
  country     TEXT,                   -- of the touch, and so is device
  device      TEXT,
  kind        TEXT NOT NULL,          -- as in changes
  event       TEXT NOT NULL,
  source      TEXT NOT NULL,
  order_day   BIGINT NOT NULL,
  click_day   BIGINT NOT NULL,
  cash_day    BIGINT NOT NULL,
  is_last     BIGINT NOT NULL,        -- 1: the last touch
  first_touch    BIGINT NOT NULL,     -- minor units
  last_touch     BIGINT NOT NULL,
  linear         BIGINT NOT NULL,
  time_decay     BIGINT NOT NULL,
  position_based BIGINT NOT NULL,
  first_touch_weight    BIGINT NOT NULL, -- billionths of a conversion; 0 but for change 0
  last_touch_weight     BIGINT NOT NULL,
  linear_weight         BIGINT NOT NULL,
  time_decay_weight     BIGINT NOT NULL,
  position_based_weight BIGINT NOT NULL,
  PRIMARY KEY (conversion, change_no, n)
);
-- What links brought, and which brought anything of late; reports read packs.
CREATE INDEX credits_by_link ON credits (workspace, link, event, kind, last_touch, last_touch_weight) WHERE link IS NOT NULL;
CREATE INDEX credits_by_cash_day ON credits (workspace, cash_day, link);

-- What reports read of conversions (ledger::packs): those of an event and an order day in one row.
CREATE TABLE packs (
  workspace   TEXT NOT NULL,
  event       TEXT NOT NULL,
  order_day   BIGINT NOT NULL,
  first_day   BIGINT NOT NULL,        -- of its orders, clicks and refunds, and so is the last
  last_day    BIGINT NOT NULL,
  size        BIGINT NOT NULL,        -- how many conversions
  valued      BIGINT NOT NULL,        -- 1: some have an assigned value
  conversions BLOB NOT NULL,          -- conversions.packed of each, by id
  PRIMARY KEY (workspace, event, order_day)
);
-- Conversions that have come, changed or gone since the pack was written.
CREATE TABLE unpacked (
  workspace  TEXT NOT NULL,
  event      TEXT NOT NULL,
  order_day  BIGINT NOT NULL,
  conversion BIGINT NOT NULL,
  PRIMARY KEY (workspace, event, order_day, conversion)
) WITHOUT ROWID;

-- Journeys that ended without a conversion, counted before they expire: markov reads them as null paths. Those of
-- a day in one row: a row for each path costs SQL more than reading a hundred of them.
CREATE TABLE path_counts (
  workspace TEXT NOT NULL,
  event     TEXT NOT NULL,            -- the conversion that they did not come to
  day       BIGINT NOT NULL,          -- of the last click
  paths     BLOB NOT NULL,            -- paths::PathCounts
  PRIMARY KEY (workspace, event, day)
);
-- The sums of months that are over, as long as none of their days changes.
CREATE TABLE path_months (
  workspace TEXT NOT NULL,
  event     TEXT NOT NULL,
  month     BIGINT NOT NULL,          -- first day of the month, as a day number
  paths     BLOB NOT NULL,
  PRIMARY KEY (workspace, event, month)
);
-- Up to which day (exclusive) path counts are final; from it on they are counted anew now and then.
CREATE TABLE path_folds (
  workspace   TEXT PRIMARY KEY,
  settled_day BIGINT NOT NULL
);

-- Rollups of clicks, a closed list.
CREATE TABLE clicks_by_day (
  workspace TEXT NOT NULL,
  day       BIGINT NOT NULL,
  link      BIGINT NOT NULL,
  revision  BIGINT NOT NULL,
  human     BIGINT NOT NULL,
  duplicate BIGINT NOT NULL,
  bot       BIGINT NOT NULL,
  preview   BIGINT NOT NULL,
  prefetch  BIGINT NOT NULL,
  uniques   BIGINT NOT NULL,
  PRIMARY KEY (workspace, day, link, revision)
) WITHOUT ROWID;
CREATE INDEX clicks_by_link ON clicks_by_day (link, revision, day, human, duplicate, bot, preview, prefetch, uniques);
-- Of all links together: by day alone, by country, by device, and by month and hour of the week.
CREATE TABLE clicks_in_all (
  workspace TEXT NOT NULL,
  part      TEXT NOT NULL,            -- all | country | device | hour
  value     TEXT NOT NULL,            -- empty for all
  day       BIGINT NOT NULL,          -- for hours, the first day of the month
  human     BIGINT NOT NULL, uniques BIGINT NOT NULL, bots BIGINT NOT NULL, recorded BIGINT NOT NULL,
  PRIMARY KEY (workspace, part, day, value)
) WITHOUT ROWID;
CREATE TABLE clicks_by_country (
  workspace TEXT NOT NULL, day BIGINT NOT NULL, link BIGINT NOT NULL, revision BIGINT NOT NULL,
  country   TEXT NOT NULL,            -- ISO 3166 alpha-2, empty where unknown
  human     BIGINT NOT NULL, uniques BIGINT NOT NULL, bots BIGINT NOT NULL, recorded BIGINT NOT NULL,
  PRIMARY KEY (workspace, day, link, revision, country)
) WITHOUT ROWID;
CREATE TABLE clicks_by_device (
  workspace TEXT NOT NULL, day BIGINT NOT NULL, link BIGINT NOT NULL, revision BIGINT NOT NULL,
  device    TEXT NOT NULL,            -- mobile | tablet | desktop | tv | other
  human     BIGINT NOT NULL, uniques BIGINT NOT NULL, bots BIGINT NOT NULL, recorded BIGINT NOT NULL,
  PRIMARY KEY (workspace, day, link, revision, device)
) WITHOUT ROWID;
CREATE TABLE clicks_by_referrer (
  workspace TEXT NOT NULL, day BIGINT NOT NULL, link BIGINT NOT NULL, revision BIGINT NOT NULL,
  referrer  TEXT NOT NULL,            -- host, empty where none
  human     BIGINT NOT NULL, uniques BIGINT NOT NULL, bots BIGINT NOT NULL, recorded BIGINT NOT NULL,
  PRIMARY KEY (workspace, day, link, revision, referrer)
) WITHOUT ROWID;
CREATE TABLE clicks_by_hour (
  workspace TEXT NOT NULL,
  month     BIGINT NOT NULL,          -- first day of the month, as a day number
  hour      BIGINT NOT NULL,          -- hour of the week, 0 is Monday 00:00
  link      BIGINT NOT NULL, revision BIGINT NOT NULL,
  human     BIGINT NOT NULL, uniques BIGINT NOT NULL, bots BIGINT NOT NULL, recorded BIGINT NOT NULL,
  PRIMARY KEY (workspace, link, revision, month, hour)
) WITHOUT ROWID;

-- What reports read of the clicks of a month (ledger::click_packs), up to a day: as long as the version that was
-- packed is the month's, which a batch with clicks before that day makes another one.
CREATE TABLE click_months (
  workspace      TEXT NOT NULL,
  month          BIGINT NOT NULL,     -- first day of the month, as a day number
  version        BIGINT NOT NULL,
  packed_version BIGINT NOT NULL,
  to_day         BIGINT NOT NULL,     -- exclusive
  PRIMARY KEY (workspace, month)
);
CREATE TABLE click_packs (
  workspace TEXT NOT NULL,
  month     BIGINT NOT NULL,
  part      TEXT NOT NULL,            -- all | day | country | device | hour
  clicks    BLOB NOT NULL,
  PRIMARY KEY (workspace, month, part)
);

-- Ids of clicks counted of late, one row per committed batch, to tell replayed entries apart (Redis only).
CREATE TABLE click_ids (
  partition BIGINT NOT NULL,
  position  TEXT NOT NULL,            -- of the batch's last entry
  first_ms  BIGINT NOT NULL,          -- earliest and latest click time in the batch
  last_ms   BIGINT NOT NULL,
  ids       BLOB NOT NULL,            -- 16 bytes each
  replayed  BLOB NOT NULL,            -- those among them that carried the mark
  PRIMARY KEY (partition, position)
);
CREATE INDEX click_ids_by_time ON click_ids (partition, last_ms);

CREATE TABLE costs (
  workspace    TEXT NOT NULL,
  id           TEXT NOT NULL,
  scope        TEXT NOT NULL,         -- post | link | campaign | network
  target       TEXT NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency     TEXT NOT NULL,
  from_day     BIGINT NOT NULL,
  to_day       BIGINT NOT NULL,       -- exclusive
  kind         TEXT NOT NULL,         -- spend | hours | tools | ... the user's word
  note         TEXT,
  created_ms   BIGINT NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE INDEX costs_by_workspace ON costs (workspace, from_day);

-- Reports of closed periods as they were when somebody froze them.
CREATE TABLE snapshots (
  workspace     TEXT NOT NULL,
  id            TEXT NOT NULL,        -- UUIDv7
  name          TEXT NOT NULL,
  query         TEXT NOT NULL,        -- parameters of the report, form-encoded
  from_day      BIGINT NOT NULL,
  to_day        BIGINT NOT NULL,      -- exclusive
  as_of_ms      BIGINT NOT NULL,
  settings_hash TEXT NOT NULL,
  report        TEXT NOT NULL,        -- JSON, as answered then
  PRIMARY KEY (workspace, id)
);

-- Exchange rates: one unit of `base` is `rate` units of `currency` on that day.
CREATE TABLE rates (
  base     TEXT NOT NULL,
  currency TEXT NOT NULL,
  day      BIGINT NOT NULL,
  rate     TEXT NOT NULL,
  PRIMARY KEY (base, currency, day)
);

-- How far the worker has come; moved by compare-and-swap in the transaction that commits the results.
CREATE TABLE positions (
  stream    TEXT NOT NULL,
  partition BIGINT NOT NULL,
  position  TEXT NOT NULL,
  PRIMARY KEY (stream, partition)
);

-- Who is told of results (webhooks out).
CREATE TABLE webhooks (
  id              TEXT PRIMARY KEY,
  workspace       TEXT NOT NULL,
  url             TEXT NOT NULL,
  events          TEXT NOT NULL,      -- space-separated
  description     TEXT,
  secrets         TEXT NOT NULL,      -- JSON array of {secret, until_ms}, newest first; all sign
  failing_ms      BIGINT,             -- since when no attempt has succeeded
  disabled_ms     BIGINT,
  disabled_reason TEXT,
  created_ms      BIGINT NOT NULL
);
CREATE INDEX webhooks_by_workspace ON webhooks (workspace, id);

-- What they are told: the outbox, written with the results, and its dead letters.
CREATE TABLE webhook_messages (
  webhook     TEXT NOT NULL,
  id          TEXT NOT NULL,          -- msg_ and a UUIDv7: the same at every attempt
  workspace   TEXT NOT NULL,
  event       TEXT NOT NULL,
  body        TEXT NOT NULL,          -- JSON, as it is signed and sent
  result      TEXT NOT NULL,          -- waiting | delivered | dead
  attempts    BIGINT NOT NULL,
  next_ms     BIGINT NOT NULL,        -- while it waits: when it is due; moved on by who sends it
  status      BIGINT,                 -- HTTP status of the last attempt
  problem     TEXT,
  created_ms  BIGINT NOT NULL,
  settled_ms  BIGINT,                 -- of the last attempt
  PRIMARY KEY (webhook, id)
);
CREATE INDEX webhook_messages_waiting ON webhook_messages (webhook, next_ms) WHERE result = 'waiting';
CREATE INDEX webhook_messages_settled ON webhook_messages (result, settled_ms);

CREATE TABLE idempotency (
  workspace  TEXT NOT NULL,
  idem_key   TEXT NOT NULL,
  request    TEXT NOT NULL,           -- hash of method, path and body
  status     BIGINT NOT NULL,         -- 0: still running
  body       TEXT NOT NULL,
  after_change BIGINT,                -- the answer holds once hot copies are fed up to this link_changes.seq
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (workspace, idem_key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_ms);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
