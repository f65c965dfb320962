"""What is done with the statements that are the proxy's own.

`dispatcher` takes the messages that `session` hands over; `simple_query` and `extended_query` serve
the two protocols, `scoring` writes predictions into rows, `create_model` trains, `evaluate_model`
measures.
"""
