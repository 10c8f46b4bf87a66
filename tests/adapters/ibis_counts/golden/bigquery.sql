WITH mainspring_window AS (SELECT
  `t0`.`x` AS `v0`,
  CAST(`t0`.`n` AS FLOAT64) AS `v1`,
  `t0`.`kind` AS `v2`,
  `t0`.`at` AS `v3`
FROM `sales` AS `t0`
WHERE
  `t0`.`at` >= TIMESTAMP('2024-05-01T00:00:00+00:00')
  AND `t0`.`at` < TIMESTAMP('2024-05-02T00:00:00+00:00')) SELECT feature, cell, COUNT(*) AS n, SUM(CASE WHEN last > 0 AND (cell = 0 OR cell = last) THEN CASE WHEN v > -1e-200 AND v < 1e-200 THEN 0 ELSE v * 5.421010862427522e-20 END END) AS total, MIN(CASE WHEN last > 0 AND (cell = 0 OR cell = last) THEN v END) AS least, MAX(CASE WHEN last > 0 AND (cell = 0 OR cell = last) THEN v END) AS greatest FROM (SELECT feature, v, CASE feature WHEN 0 THEN CASE WHEN v IS NULL THEN -1 WHEN IS_NAN(v) THEN -2 WHEN v = CAST('Infinity' AS FLOAT64) THEN -3 WHEN v = CAST('-Infinity' AS FLOAT64) THEN -4 ELSE RANGE_BUCKET(v, @edges_0) END WHEN 1 THEN CASE WHEN v IS NULL THEN -1 WHEN IS_NAN(v) THEN -2 WHEN v = CAST('Infinity' AS FLOAT64) THEN -3 WHEN v = CAST('-Infinity' AS FLOAT64) THEN -4 ELSE RANGE_BUCKET(v, @edges_1) END WHEN 3 THEN CASE WHEN v IS NULL THEN -1 WHEN IS_NAN(v) THEN -2 WHEN v = CAST('Infinity' AS FLOAT64) THEN -3 WHEN v = CAST('-Infinity' AS FLOAT64) THEN -4 ELSE RANGE_BUCKET(v, @edges_3) END END AS cell, CASE feature WHEN 0 THEN 2 WHEN 1 THEN 2 WHEN 3 THEN 1 END AS last FROM (SELECT each.feature, each.v FROM mainspring_window CROSS JOIN UNNEST([STRUCT(0 AS feature, v0 AS v), STRUCT(1 AS feature, v1 AS v), STRUCT(3 AS feature, CAST(UNIX_MICROS(v3) AS FLOAT64) AS v)]) AS each) AS one) AS coded GROUP BY feature, cell
UNION ALL
SELECT 2 AS feature, cell, CAST(SUM(n) AS INT64) AS n, CAST(NULL AS FLOAT64) AS total, CAST(NULL AS FLOAT64) AS least, CAST(NULL AS FLOAT64) AS greatest FROM (SELECT CASE WHEN v IS NULL OR v = '' THEN -1 ELSE COALESCE((SELECT MIN(place) FROM UNNEST(@categories_2) AS category WITH OFFSET AS place WHERE category = v), 2) END AS cell, n FROM (SELECT v, COUNT(*) AS n FROM (SELECT v2 AS v FROM mainspring_window) AS v2a GROUP BY v) AS v2b) AS v2c GROUP BY cell
