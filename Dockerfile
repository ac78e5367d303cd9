# Image of the monthly job: locked packages, the project, and a user who owns only the folders that the job writes.
# The tag is one release; add its digest where the registry is available (docs/operating.md, Containers).
FROM python:3.13.7-slim-trixie

ENV DO_NOT_TRACK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/life_stage
COPY requirements-serve.lock ./
RUN python -m pip install --no-cache-dir --require-hashes -r requirements-serve.lock

COPY pyproject.toml LICENSE dbt_project.yml profiles.yml selectors.yml ./
COPY python python
COPY models models
COPY macros macros
COPY seeds seeds
COPY tests tests
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin life_stage \
    && install --directory --owner 10001 --mode 0750 /srv/warehouse /srv/marts

# dbt's artifacts and logs go to /tmp, which is writable in a read-only container.
ENV DBT_TARGET_PATH=/tmp/target DBT_LOG_PATH=/tmp/logs \
    LIFE_STAGE_SOURCE=/srv/source \
    LIFE_STAGE_MAPPING=/srv/mapping \
    LIFE_STAGE_WAREHOUSE=/srv/warehouse/life_stage.duckdb \
    LIFE_STAGE_PUBLISHED=/srv/marts/published
USER 10001
CMD ["life-stage", "run"]
