"""Graders of replies by known answers. Rule: the standard library only, and time that grows no faster than the reply.

A grader has a name and a version, and both go into every label: a grader that is changed gets a new version.
"""
