"""Looks this host over and says what is wrong, why it matters and what mends it. Reads only.

look/    probes: each reads one thing of the host into facts, within its time, or says why it could not
facts    what is known, frozen
checks/  rules: one file for each kind of finding, pure functions from facts to findings
"""
