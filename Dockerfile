# The image of servers and proxies. `python scripts/image.py` fills dist/wheels and builds it; by hand:
#   docker build --build-arg BASE=python:3.11-slim .
# BASE needs Python 3.11 or newer with pip. Nothing is fetched while building: what is installed lies in dist/wheels.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
COPY dist/wheels /wheels
RUN python3 -m venv --without-pip /opt/dask-sluice \
 && python3 -m pip --python /opt/dask-sluice/bin/python install --quiet --no-index --find-links /wheels --no-compile \
    --root-user-action ignore --disable-pip-version-check --requirement /wheels/requirements.txt \
 && find /opt/dask-sluice -name tests -type d -prune -exec rm -r {} + \
 # The root file system is read-only where it runs, and a time stamp in a .pyc would make every build another image.
 && /opt/dask-sluice/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/dask-sluice/lib

FROM ${BASE}
COPY --from=build /opt/dask-sluice /opt/dask-sluice
ENV PATH=/opt/dask-sluice/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# A number, so that Kubernetes can see that it is not root; any other works as well.
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["dask-sluice"]
CMD ["serve", "--config", "/etc/dask-sluice/config.yaml"]
