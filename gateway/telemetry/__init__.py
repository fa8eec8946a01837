"""The outbound side for observers: metrics and logs. Rule: takes finished records; never answers, never slows a
request.
"""
