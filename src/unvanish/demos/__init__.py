"""The demos of `unvanish demo`: each trains networks on scikit-learn's digits or drawn data, and summarises what it measured."""
