"""The statements that lead from a score back to seeds, as the report prints them.

They are asked of the corpus that the student learnt from, with three databases attached: `exam`,
`lessons` (what the base model learnt from), `school` (what the teacher learnt from). A run names
the model that it began with by its path, which is the `output` of the run before.
"""

from __future__ import annotations

SCORE = """\
SELECT count(*) AS problems, sum(sample.status = 'accepted') AS correct,
       round(avg(sample.status = 'accepted'), 5) AS accuracy
FROM exam.seed JOIN exam.sample ON sample.seed_id = seed.id"""

ITEM = """\
WITH told AS (
  SELECT sample.id, sample.status = 'accepted' AS correct, seed.ordinal,
         json_extract(seed.meta, '$.family') AS family, json_extract(seed.meta, '$.level') AS level
  FROM exam.seed JOIN exam.sample ON sample.seed_id = seed.id),
hard AS (SELECT * FROM told WHERE level >= min(2, (SELECT max(level) FROM told))),
best AS (SELECT family, round(avg(correct), 3) AS share FROM hard
         GROUP BY family ORDER BY avg(correct) DESC, family LIMIT 1)
SELECT hard.id, best.family, hard.level, best.share AS family_correct, hard.correct,
       seed.instruction, seed.input, seed.reference, sample.response,
       group_concat(verdict.name, ', ') AS checks_passed, sample.run_id
FROM best JOIN hard ON hard.family = best.family
JOIN exam.sample ON sample.id = hard.id JOIN exam.seed ON seed.id = sample.seed_id
LEFT JOIN exam.verdict ON verdict.sample_id = hard.id
  AND verdict.kind = 'executable' AND verdict.label = 'pass'
GROUP BY hard.id ORDER BY hard.correct DESC, hard.ordinal LIMIT 1"""

SAT = """\
SELECT training_run.id, training_run.stage, training_run.output
FROM exam.run JOIN training_run
  ON instr(run.recipe_text, 'model: ' || training_run.output || char(10))
WHERE run.id = :exam_run AND training_run.status = 'finished'"""

CHAIN = """\
WITH RECURSIVE every_run AS (
  SELECT 'corpus' AS database, * FROM training_run
  UNION ALL SELECT 'lessons', * FROM lessons.training_run),
chain AS (
  SELECT 0 AS back, * FROM every_run WHERE id = :run
  UNION ALL
  SELECT chain.back + 1, before.* FROM chain JOIN every_run AS before
    ON instr(chain.recipe_text,
             'student:' || char(10) || '  model: ' || before.output || char(10))
  WHERE before.status = 'finished')
SELECT back, database, stage, output, export_id FROM chain ORDER BY back"""

EXPORTS = """\
SELECT 'corpus' AS database, id, rows, json_extract(manifest, '$.filters') AS filters, content_hash
FROM export WHERE id IN (SELECT value FROM json_each(:exports))
UNION ALL
SELECT 'lessons', id, rows, json_extract(manifest, '$.filters'), content_hash
FROM lessons.export WHERE id IN (SELECT value FROM json_each(:exports))"""

# Which samples an export took: its own filters, as its manifest keeps them.
_ADMITTED = """\
  ON sample.status IN (SELECT value FROM json_each(export.manifest, '$.filters.status'))
  AND sample.recipe = coalesce(json_extract(export.manifest, '$.filters.recipe'), sample.recipe)
  AND trim(coalesce(sample.response, '')) <> ''
  AND (NOT sample.simulated OR json_extract(export.manifest, '$.filters.allow_simulated'))
  AND (sample.allows_training = 'true'
       OR json_extract(export.manifest, '$.filters.terms') = 'any'
       OR json_extract(export.manifest, '$.filters.terms') = sample.allows_training)"""

MEMBERS = f"""\
SELECT sample.id
FROM export JOIN sample
{_ADMITTED}
WHERE export.id = :export"""

ANCESTORS = f"""\
SELECT sample.id, seed.instruction, sample.response, json_extract(seed.meta, '$.level') AS level,
       seed.source, seed.row, agent_call.id AS call, agent_call.model, agent_call.endpoint,
       teacher_logprobs.shard, teacher_logprobs.length AS teacher_rows, teacher_logprobs.top_k,
       teacher_logprobs.teacher_revision
FROM export JOIN sample
{_ADMITTED}
JOIN seed ON seed.id = sample.seed_id
JOIN agent_call ON agent_call.sample_id = sample.id
  AND agent_call.agent = 'response' AND agent_call.error_type IS NULL
LEFT JOIN teacher_logprobs ON teacher_logprobs.sample_id = sample.id
  AND teacher_logprobs.key IN (SELECT value FROM json_each(:keys))
WHERE export.id = :export AND json_extract(seed.meta, '$.family') = :family
ORDER BY seed.ordinal"""

LESSONS = f"""\
SELECT sample.id, seed.instruction, sample.response, json_extract(seed.meta, '$.level') AS level,
       seed.source, seed.row, agent_call.model
FROM lessons.export JOIN lessons.sample
{_ADMITTED}
JOIN lessons.seed ON seed.id = sample.seed_id
JOIN lessons.agent_call ON agent_call.sample_id = sample.id
  AND agent_call.agent = 'response' AND agent_call.error_type IS NULL
WHERE export.id = :export AND json_extract(seed.meta, '$.family') = :family
ORDER BY seed.ordinal"""

TEACHER = """\
SELECT DISTINCT training_run.stage, training_run.output, export.rows, export.content_hash
FROM run JOIN school.training_run
  ON instr(run.recipe_text, 'model: ' || training_run.output || char(10))
JOIN school.export ON export.id = training_run.export_id
WHERE run.id IN (SELECT run_id FROM agent_call WHERE id = :call)
  AND training_run.status = 'finished'"""
