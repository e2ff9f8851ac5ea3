"""Looks this host over and says what is wrong, why it matters and what mends it. Reads only.

gather, look/      probes: each reads one thing of the host into facts, within its time, or says why it could not
facts, rules       what is known, frozen; rules are those of everybody's packet filter
examine, checks/   one file for each kind of finding: pure functions from facts to findings
page               the findings for people and for programs
"""
