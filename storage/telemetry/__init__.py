"""The corpus as OpenTelemetry traces, for Phoenix, Langfuse and whatever else speaks OTLP.

In: a database, which seeds, and where to. Out: one trace per seed, sent by OTLP over HTTP or
written as OTLP JSON lines, with attributes of the OpenInference conventions
(https://arize-ai.github.io/openinference/spec/). `choosing` picks the seeds, `traces` makes a
story's spans, `receiver` and `trace_file` take them, `exporting` joins these. Only the last four
need the extra `telemetry`, and nothing else of `storage` imports them.
"""
