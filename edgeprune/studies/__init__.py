"""Studies: work that several processes and machines share through a storage, so that each piece is done once.

urls.py         the URL of a storage: its kind, its driver, and what of it may be shown
opening.py      a storage is checked and opened
file_journal.py the journal of a study in a file
redis.py        the journal of a study in Redis
patience.py     a storage whose server may go away for a while
heartbeats.py   signs of life of workers, and who has been silent for too long
store.py        the study, and the loop of a worker
pieces.py       named pieces of work: each is done by the worker that began it first
"""

HEARTBEAT_S = 15.0  # interval at which a worker reports that it is alive
