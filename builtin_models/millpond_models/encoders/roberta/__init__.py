"""RoBERTa and CamemBERT; the records of XLM-RoBERTa."""
