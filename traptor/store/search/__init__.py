"""OpenSearch and Elasticsearch: a document for each tweet, for Kibana and OpenSearch Dashboards.

Begin with ``destination``, which tells what becomes of a batch; ``documents`` makes a document of a tweet's rows,
``memory`` remembers what was taken back, ``server`` speaks HTTP. Nothing here needs a script on the server.
"""
