"""Follows the processes that a watched script starts or forks, and has those watched that train."""
