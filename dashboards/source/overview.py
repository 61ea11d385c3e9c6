"""Is it fine? Do songs get through, and how soon?"""

from grafana import Board, falling, namespace, query, steps

NS = 'namespace=~"$namespace"'
ASKED = f'route!~"/(metrics|livez|readyz)", {NS}'  # by people, not by who watches


def board():
    board = Board(
        "overview",
        "Do songs get through, how soon, and where are they? Green is fine.",
        [namespace("stemflow_build_info")],
    )
    at_a_glance(board)
    songs(board)
    where(board)
    door(board)
    return board


def at_a_glance(board):
    board.row("Is it fine?")
    board.stat(
        "Songs", "Songs that became stems, per minute.", "suffix: songs/min",
        f'60 * sum(rate(stemflow_job_seconds_count{{outcome="done", {NS}}}[$__rate_interval]))', empty="0",
    )
    board.stat(
        "Success", "Of the songs that ended within the last hour, the share that became stems; cancelled ones"
        " do not count. Files that are no audio count as failed.", "percentunit",
        f"""sum(increase(stemflow_job_seconds_count{{outcome="done", {NS}}}[1h]))
            / (sum(increase(stemflow_job_seconds_count{{outcome=~"done|failed", {NS}}}[1h])) > 0)""",
        falling(0.8, 0.95), empty="no songs", maximum=1,
    )
    for share, name in ((0.5, "Half are done within"), (0.95, "19 of 20 are done within")):
        board.stat(
            name, f"From upload to the last stem, quantile {share} over the last half hour.", "s",
            f"""histogram_quantile({share},
                sum by (le) (rate(stemflow_job_seconds_bucket{{outcome="done", {NS}}}[30m])))""",
            steps(300, 1200), empty="no songs",
        )
    board.stat(
        "Oldest song", "How long ago the oldest song was handed in that has not ended. An alert from an hour on.",
        "s", f"max(stemflow_oldest_job_seconds{{{NS}}})", steps(900, 3600),
    )
    board.stat(
        "Given up", "Tasks that were given up within the last hour; `stemflow dead list` has them. Files that are no"
        " audio do not count.", "short",
        f"""round(sum(increase(stemflow_tasks_total{{outcome="dead", {NS}}}[1h])))""", steps(1),
    )
    board.stat(
        "Alerts", "Alerts of ours that fire now.", "short",
        'count(ALERTS{alertstate="firing", alertname=~"(Stemflow|Nats).*"}) or vector(0)', steps(1),
    )
    board.stat(
        "Times real time", "Seconds of music that the separating slots get through in a second at work: above 1"
        " they are faster than the music plays.", "suffix: ×",
        f"""sum(rate(stemflow_audio_seconds_total{{stage="separate", {NS}}}[5m]))
            / (sum(rate(stemflow_busy_seconds_total{{stage="separate", {NS}}}[5m])) > 0)""", empty="idle",
    )
    board.stat(
        "Waiting", "Tasks of all stages that no worker has had yet.", "short",
        f"sum(max by (namespace, stage, lane) (stemflow_tasks_waiting{{{NS}}}))",
    )
    board.stat(
        "At work", "Tasks of all stages that are worked on now.", "short",
        f"sum(stemflow_tasks_in_progress{{{NS}}})",
    )
    board.stat("Workers", "Processes of all stages.", "short", f"count(stemflow_task_slots{{{NS}}})")
    board.stat(
        "Connected", "The share of processes that have a connection to NATS.", "percentunit",
        f"avg(stemflow_nats_connected{{{NS}}})", falling(0.5, 1), maximum=1,
    )


def songs(board):
    board.row("Songs")
    board.series(
        "Songs by end", "Songs that ended, per minute. Failed is the input's fault, or a task that was given up.",
        "suffix: songs/min",
        query(f"60 * sum by (outcome) (rate(stemflow_job_seconds_count{{{NS}}}[$__rate_interval]))", "{{outcome}}"),
        stack=True,
    )
    board.heatmap(
        "From upload to stems", "How long the songs took that became stems.", "s",
        f'sum by (le) (increase(stemflow_job_seconds_bucket{{outcome="done", {NS}}}[$__rate_interval]))',
    )


def where(board):
    board.row("Where they are")
    board.series(
        "Songs by state", "Songs that there are records of, ended ones left out.", "short",
        query(f'max by (state) (stemflow_jobs{{{NS}}})', "{{state}}"), stack=True,
    )
    board.series(
        "Tasks that wait", "Tasks that no worker has had yet, by stage.", "short",
        query(f"sum by (stage) (max by (namespace, stage, lane) (stemflow_tasks_waiting{{{NS}}}))", "{{stage}}"),
        stack=True,
    )
    board.series(
        "Waiting, by stage", "From a task's release to its first delivery, quantile 0.95: more pods make it less.",
        "s", query(f"""histogram_quantile(0.95, sum by (stage, le)
            (rate(stemflow_task_wait_seconds_bucket{{{NS}}}[$__rate_interval])))""", "{{stage}}"),
    )
    board.series(
        "Working, by stage", "One attempt at a task, quantile 0.95: faster pods make it less.", "s",
        query(f"""histogram_quantile(0.95, sum by (stage, le)
            (rate(stemflow_task_seconds_bucket{{{NS}}}[$__rate_interval])))""", "{{stage}}"),
    )


def door(board):
    board.row("The front door")
    board.series(
        "Requests by status", "HTTP requests to the gateway, probes and scrapes left out.", "reqps",
        query(f"sum by (status) (rate(stemflow_http_requests_total{{{ASKED}}}[$__rate_interval]))", "{{status}}"),
        w=6, stack=True,
    )
    board.series(
        "Time to a reply", "From a request's head to its reply's, quantile 0.95 by route; uploads are as slow as"
        " whoever sends them.", "s",
        query(f"""histogram_quantile(0.95, sum by (route, le)
            (rate(stemflow_http_request_seconds_bucket{{{ASKED}}}[$__rate_interval])))""", "{{route}}"), w=6,
    )
    board.series(
        "Handed in", "Songs handed in: begun, joined to one under way, or already done. Per minute.",
        "suffix: songs/min",
        query(f"60 * sum by (outcome) (rate(stemflow_jobs_submitted_total{{{NS}}}[$__rate_interval]))", "{{outcome}}"),
        w=6, stack=True,
    )
    board.series(
        "Callbacks", "Tries to tell someone that a song has ended, per minute: `retry` was not heard and comes again,"
        " `given-up` was not heard for a day.", "suffix: calls/min",
        query(f"60 * sum by (outcome) (rate(stemflow_callbacks_total{{{NS}}}[$__rate_interval]))", "{{outcome}}"),
        w=6, stack=True,
    )
