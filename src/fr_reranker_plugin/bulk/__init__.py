"""Work that nobody waits for: ranking the passages of every row of a data set, here or on a cluster."""

from fr_reranker_plugin.bulk.data_set import DataSet
from fr_reranker_plugin.bulk.ranking import BulkSettings, Summary, rank_data_set
from fr_reranker_plugin.bulk.row_scorers import by_ray, by_scorer

__all__ = ["BulkSettings", "DataSet", "Summary", "by_ray", "by_scorer", "rank_data_set"]
