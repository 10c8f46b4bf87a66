WITH mainspring_window AS NOT MATERIALIZED (SELECT
  "t0"."x" AS "v0",
  CAST("t0"."n" AS DOUBLE) AS "v1",
  "t0"."kind" AS "v2",
  "t0"."at" AS "v3"
FROM "sales" AS "t0"
WHERE
  "t0"."at" >= MAKE_TIMESTAMPTZ(2024, 5, 1, 0, 0, 0.0, 'UTC')
  AND "t0"."at" < MAKE_TIMESTAMPTZ(2024, 5, 2, 0, 0, 0.0, 'UTC')) SELECT 0 AS feature, unnest(range(1, 2)) AS cell, unnest(bins[2:2]) AS n, CAST(NULL AS DOUBLE) AS total, CAST(NULL AS DOUBLE) AS least, CAST(NULL AS DOUBLE) AS greatest FROM (SELECT map_values(histogram(v0, CAST(string_split('0.5,1.5', ',') AS DOUBLE[]))) AS bins FROM mainspring_window) AS v0h WHERE bins IS NOT NULL
UNION ALL
SELECT 0 AS feature, cell, COUNT(*) AS n, SUM(CASE WHEN cell IN (0, 2) THEN CASE WHEN v > -1e-200 AND v < 1e-200 THEN 0 ELSE v * 5.421010862427522e-20 END END) AS total, MIN(CASE WHEN cell IN (0, 2) THEN v END) AS least, MAX(CASE WHEN cell IN (0, 2) THEN v END) AS greatest FROM (SELECT * FROM (SELECT v, CASE WHEN v IS NULL THEN -1 WHEN isnan(v) THEN -2 WHEN v = CAST('Infinity' AS DOUBLE) THEN -3 WHEN v = CAST('-Infinity' AS DOUBLE) THEN -4 ELSE CASE WHEN v <= 0.5 THEN 0 WHEN v > 1.5 THEN 2 END END AS cell FROM (SELECT v0 AS v FROM mainspring_window) AS v0a) AS v0d WHERE cell IS NOT NULL) AS v0b GROUP BY cell
UNION ALL
SELECT 1 AS feature, unnest(range(1, 2)) AS cell, unnest(bins[2:2]) AS n, CAST(NULL AS DOUBLE) AS total, CAST(NULL AS DOUBLE) AS least, CAST(NULL AS DOUBLE) AS greatest FROM (SELECT map_values(histogram(v1, CAST(string_split('1.0,3.0', ',') AS DOUBLE[]))) AS bins FROM mainspring_window) AS v1h WHERE bins IS NOT NULL
UNION ALL
SELECT 1 AS feature, cell, COUNT(*) AS n, SUM(CASE WHEN cell IN (0, 2) THEN CASE WHEN v > -1e-200 AND v < 1e-200 THEN 0 ELSE v * 5.421010862427522e-20 END END) AS total, MIN(CASE WHEN cell IN (0, 2) THEN v END) AS least, MAX(CASE WHEN cell IN (0, 2) THEN v END) AS greatest FROM (SELECT * FROM (SELECT v, CASE WHEN v IS NULL THEN -1 WHEN isnan(v) THEN -2 WHEN v = CAST('Infinity' AS DOUBLE) THEN -3 WHEN v = CAST('-Infinity' AS DOUBLE) THEN -4 ELSE CASE WHEN v <= 1.0 THEN 0 WHEN v > 3.0 THEN 2 END END AS cell FROM (SELECT v1 AS v FROM mainspring_window) AS v1a) AS v1d WHERE cell IS NOT NULL) AS v1b GROUP BY cell
UNION ALL
SELECT 2 AS feature, cell, CAST(SUM(n) AS BIGINT) AS n, CAST(NULL AS DOUBLE) AS total, CAST(NULL AS DOUBLE) AS least, CAST(NULL AS DOUBLE) AS greatest FROM (SELECT CASE WHEN v IS NULL OR v = '' THEN -1 ELSE COALESCE(list_position(CAST(['a', 'it''s'] AS VARCHAR[]), v) - 1, 2) END AS cell, n FROM (SELECT v, COUNT(*) AS n FROM (SELECT v2 AS v FROM mainspring_window) AS v2a GROUP BY v) AS v2b) AS v2c GROUP BY cell
UNION ALL
SELECT 3 AS feature, unnest(range(1, 1)) AS cell, unnest(bins[2:1]) AS n, CAST(NULL AS DOUBLE) AS total, CAST(NULL AS DOUBLE) AS least, CAST(NULL AS DOUBLE) AS greatest FROM (SELECT map_values(histogram(CASE WHEN isinf(CAST(v3 AS TIMESTAMPTZ)) THEN CAST(CASE WHEN CAST(v3 AS TIMESTAMPTZ) > '1970-01-01' THEN 'Infinity' ELSE '-Infinity' END AS DOUBLE) ELSE CAST(epoch_us(CAST(v3 AS TIMESTAMPTZ)) AS DOUBLE) END, CAST(string_split('0.0', ',') AS DOUBLE[]))) AS bins FROM mainspring_window) AS v3h WHERE bins IS NOT NULL
UNION ALL
SELECT 3 AS feature, cell, COUNT(*) AS n, SUM(CASE WHEN cell IN (0, 1) THEN CASE WHEN v > -1e-200 AND v < 1e-200 THEN 0 ELSE v * 5.421010862427522e-20 END END) AS total, MIN(CASE WHEN cell IN (0, 1) THEN v END) AS least, MAX(CASE WHEN cell IN (0, 1) THEN v END) AS greatest FROM (SELECT * FROM (SELECT v, CASE WHEN v IS NULL THEN -1 WHEN isnan(v) THEN -2 WHEN v = CAST('Infinity' AS DOUBLE) THEN -3 WHEN v = CAST('-Infinity' AS DOUBLE) THEN -4 ELSE CASE WHEN v <= 0.0 THEN 0 WHEN v > 0.0 THEN 1 END END AS cell FROM (SELECT CASE WHEN isinf(CAST(v3 AS TIMESTAMPTZ)) THEN CAST(CASE WHEN CAST(v3 AS TIMESTAMPTZ) > '1970-01-01' THEN 'Infinity' ELSE '-Infinity' END AS DOUBLE) ELSE CAST(epoch_us(CAST(v3 AS TIMESTAMPTZ)) AS DOUBLE) END AS v FROM mainspring_window) AS v3a) AS v3d WHERE cell IS NOT NULL) AS v3b GROUP BY cell
