"""The database: models, sessions and every read and write of the studio's state.

Writers open ``Store.write()``, readers ``Store.read()``, and pass the session to the functions of
``studies``, ``runs``, ``scalars``, ``predictions``, ``workers`` and ``queries``.
"""
